"""The API and the pages over HTTP: the daemon is asked for everything, with the token of the request.

server     listen, with the limits on a connection      app        what answers where
api        the operations as routes                     relay      one question to the daemon
asked      what is asked, read from a request           logs       the log of a deployment as it grows
openapi    the API described, from its types            manual     that as a page
fanout     each running log, followed once for all      problems   errors as answers

pages      the pages                                    sessions   who is signed in
people     accounts, and the audit
signing    sign in and out                              forms      what a form has, and whose it is
actions    what can be done from a page                 chart      the history as a chart
views      further pages that show something            story      what the log of a deployment tells
render     templates and static files
"""
