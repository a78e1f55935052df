# The rollback happens before this runs: nothing to do here.
{}
