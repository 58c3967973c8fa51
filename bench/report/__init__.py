"""Tables, plots and a web page, made from records; nothing here trains or measures."""
