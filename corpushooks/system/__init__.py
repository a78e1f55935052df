"""The kernel and the programs of a machine, one owner each. Nothing here knows of projects that deploy.

process        other processes, the only user of subprocess   patience       how long something foreign may take
disk           bring what was written to the disk             safe_files     act on paths, follow no planted link
locks          locks as flock, fair semaphores                obstacles      what keeps us from using our own files
machine        accounts, units and sshd of the machine        units          units of systemd and what they wrote
supervisor     the socket and the messages of systemd         apt            which packages could be installed
watch          files that change, by watchdog                 health         ask what was deployed whether it answers
proc           what /proc says of processes                   leftovers      processes that a deployment left
sockets        who listens at which TCP port                  terminal       relay between a terminal and a command
hostname       what this machine is called                    distribution   how corpushooks was installed
become         a program of its own: give up all rights, become a command
"""
