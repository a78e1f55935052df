"""What lies where on a host, and the host at work.

site         settings, store and engine of a host at work     layout       folders, accounts, repositories, hooks
accounts     users and groups of a project                    wiring       the links by which Salt sees a project
address      where repositories are pushed to                 parts        what of a project is missing or damaged
claiming     claim ports and addresses for a deployment       outside      what our states wrote outside a project
"""
