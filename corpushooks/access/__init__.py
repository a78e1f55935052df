"""Who may: ssh keys, directories, and whoever calls the daemon.

keys              public keys, and what they may            keyring     keys in the store, sessions of those who came
principal         who asks, and what that may               authentication   who a caller is
tokens            tokens for the API, in the store
ldap              whose a key is in a directory             lookup      answers of a directory, asked and kept
authorized_keys   our block in a file of sshd
"""
