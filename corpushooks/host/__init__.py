"""The layout of a host, and the running host.

site         settings, store and engine of a running host     layout       folders, accounts, repositories, hooks
accounts     users and groups of a project                    wiring       the links by which Salt sees a project
address      the addresses of repositories                    parts        missing and damaged parts of a project
claiming     claim ports and addresses for a deployment       outside      files that states wrote outside a project
last         the last cfg of a project
"""
