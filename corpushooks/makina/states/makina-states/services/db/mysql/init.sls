{% import "makina-states/services/db/mysql/macros.sls" as macros with context %}
{% set mysql_db = macros.mysql_db %}
{% set mysql_user = macros.mysql_user %}
{% set gen_settings = macros.gen_settings %}
include:
  - makina-states.services.db.mysql.packages
