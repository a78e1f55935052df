"""What Salt loads of us wherever we are installed beside it: an entry point of its group `salt.loader` names this."""
