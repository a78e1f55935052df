"""What is said over the socket of a daemon.

messages     a request in one line of JSON, read by its types     answers      the lines of an answer, the version
asks         what each operation asks                             gives        what each operation gives
client       reach the daemon, ask, relay what it says            connection   the daemon's end
"""
