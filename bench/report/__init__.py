"""Records to tables, plots and a page; nothing here trains or measures."""
