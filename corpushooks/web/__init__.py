"""The API over HTTP. It asks the daemon for everything, with the token of whoever asks, and has no rights itself.

server     listen, with the limits on a connection      app        what answers where
api        the operations as routes                     relay      one question to the daemon
asked      what is asked, read from a request           logs       the log of a deployment as it grows
openapi    the API described, from its types            problems   errors as answers
"""
