"""How a running executor tells about itself: a socket that answers with its figures, and the client for it."""
