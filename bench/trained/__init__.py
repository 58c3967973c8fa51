"""A trained method, used: asked, compared, exported."""
