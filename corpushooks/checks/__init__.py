"""What is judged of a project's files before anything runs: values in, findings out, no effects.

finding     what is wrong in a file, and the table of kinds            Finding, KINDS, ordered
texts       one file as bytes: not UTF-8, an LFS pointer               encoding
packages    names of packages in a text, successors, candidates        declared, doubled, without_candidate
states      rendered states: doubled packages, sources, commands       sources, doubled_states, commands
programs    which package a command comes from                         PROVIDED_BY
keys        keys of a sample or a pillar that nobody reads             unread
sent        what git sends: links, submodules, filters, names          of_commit, of_folder
fixes       what a program can rewrite safely                          fix
"""
