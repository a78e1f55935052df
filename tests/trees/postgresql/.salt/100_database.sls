{% import "makina-states/services/db/postgresql/init.sls" as pgsql with context %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.db.postgresql
{{ pgsql.postgresql_db(data.db) }}
{{ pgsql.postgresql_user(data.db_user, password=data.db_password, db=data.db) }}
{{ pgsql.install_pg_exts(data.extensions, db=data.db) }}
