"""Random faults during rollouts on real daemons; see __main__."""
