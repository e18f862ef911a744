"""The web pages: rendered on the server, readable without any script; one small module keeps an open run live."""
