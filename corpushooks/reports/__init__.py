"""Look, and change nothing.

reports      what is told of projects, by name            inspection   what is live, and the cfg
statistics   what many deployments come to                variables    what `corpus set` has set
report       one of them, as all doors give it
app_log      what an application writes                   checkup      check projects and folders without deploying
"""
