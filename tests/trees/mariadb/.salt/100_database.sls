{% import "makina-states/services/db/mysql/init.sls" as mysql with context %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.db.mysql
{{ mysql.mysql_db(data.db, user=data.db_user, password=data.db_password) }}
{{ mysql.mysql_user(data.db_user, data.db_password, databases=[data.db]) }}
