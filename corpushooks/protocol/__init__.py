"""The protocol of the daemon's socket.

messages     parse and check a request                            answers      the fields of an answer, the version
asks         the request of each operation                        gives        the result of each operation
client       connect, send requests, relay answers                connection   the daemon's end
"""
