"""Access: ssh keys, directories, and the callers of the daemon.

keys              public keys and their rights              keyring          keys in the store, and their sessions
principal         callers and their rights                  authentication   identify a caller
tokens            tokens for the API, in the store
accounts          people with a password, in the store  sessions         sessions of people who signed in
persons           rights of those who sign in from elsewhere
pending           sign-ins that a provider was asked for  oidc             a provider of identities
attempts          failed attempts to sign in            checking         what is checked in a child
proof             that child: a program of its own
ldap              the owner of a key, in a directory        lookup           cached answers of a directory
authorized_keys   our block in a file of sshd
"""
