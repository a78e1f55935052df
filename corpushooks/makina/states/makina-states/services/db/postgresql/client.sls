{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.services.db.postgresql.hooks
pgsql-repo:
  pkgrepo.unneeded: []
{{ packages('makina-states.services.db.postgresql.client', salt['mc_pgsql.settings']().client_packages,
            'makina-postgresql-pre-pkg', 'makina-postgresql-post-pkg', id='postgresql-pkgs-client') }}
