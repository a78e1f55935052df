"""Access: ssh keys, directories, and the callers of the daemon.

keys              public keys and their rights              keyring          keys in the store, and their sessions
principal         callers and their rights                  authentication   identify a caller
tokens            tokens for the API, in the store
ldap              the owner of a key, in a directory        lookup           cached answers of a directory
authorized_keys   our block in a file of sshd
"""
