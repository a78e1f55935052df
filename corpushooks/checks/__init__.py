"""Checks of a project's files before anything runs: values in, findings out, no effects.

finding     findings, and the table of their kinds                     Finding, KINDS, ordered
texts       one file as bytes: not UTF-8, an LFS pointer               encoding
packages    names of packages in a text, successors, candidates        declared, doubled, judged
states      rendered states: duplicate packages, sources, commands     sources, doubled, commands
programs    the packages of commands                                   PROVIDED_BY
keys        unused keys of a sample or a pillar                        unread
sent        files in git: links, submodules, filters, names            of_commit, of_folder
fixes       automatic fixes                                            fix
"""
