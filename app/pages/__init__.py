"""The HTML pages, their styles and scripts: served from here, with no request to any other host."""
