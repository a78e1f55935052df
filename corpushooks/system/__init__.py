"""The kernel and the programs of a machine, with one owner each. Nothing here knows of deployments.

process        other processes, the only user of subprocess   patience       timeouts and cancellation
disk           flush written files to the disk                safe_files     act on paths, follow no planted link
locks          flock locks, fair semaphores                   obstacles      why our own files cannot be used
machine        accounts, units and sshd of the machine        units          systemd units and their journal
supervisor     the socket and the messages of systemd         apt            which packages could be installed
watch          files that change, by watchdog                 health         health checks of what was deployed
proc           processes in /proc                             leftovers      processes that a deployment left
sockets        processes that listen on TCP ports             terminal       relay between a terminal and a command
hostname       the name of this machine                       distribution   how corpushooks was installed
become         a separate program: drop all privileges and run a command
resolving      where names lead, and whether that is this machine
own_log        the daemon's own log                           memory         how this process uses its memory
"""
