{#- Databases and users of MariaDB. Their arguments are in docs/makina-states.md. -#}
{% from "makina-states/_macros/unsupported.jinja" import unsupported with context %}
{% set mysql = salt['mc_mysql.settings']() %}

{% macro asked(mysql_host) %}
{% if mysql_host %}
    - connection_host: {{ mysql_host | json }}
{% endif %}
    - require:
      - mc_proxy: mysql-post-restart-hook
      - mc_proxy: mysql-post-hardrestart-hook
{% endmacro %}

{% macro plain(name) %}{{ name | replace('.', '_') | replace(' ', '_') | replace('%', '_') }}{% endmacro %}

{#- A database, and its user unless `user_creation` is false. -#}
{% macro mysql_db(db, user=None, host=None, password=None, character_set=None, collate=None, user_creation=True,
                  mysql_host=None, state_uid=None) %}
{% set uid = state_uid or plain(db) %}
makina-mysql-db-{{ uid }}:
  mysql_database.present:
    - name: {{ db | json }}
    - character_set: {{ (character_set or mysql.character_set) | json }}
    - collate: {{ (collate or ('' if character_set else mysql.collate)) | json }}
{{ asked(mysql_host) }}
    - require_in:
      - mc_proxy: mysql-db-create-hook
{% if user_creation %}
{{ mysql_user(user or db, password, host=host, mysql_host=mysql_host, databases=[db], state_uid=uid) }}
{% endif %}
{% endmacro %}

{#- A user, and its privileges on databases. A missing password is generated and stored. -#}
{% macro mysql_user(user, password, host=None, grant='ALL', allow_passwordless=False, mysql_host=None, databases=None,
                    state_uid=None) %}
{% set hosts = [host] if host is string else (host or ['%']) %}
{% set bases = [databases] if databases is string else (databases or []) %}
{% set uid = state_uid or plain(user ~ hosts | join) %}
{% set secret = password if password or allow_passwordless else
                salt['mc_utils.generate_stored_password']('mysql-' ~ user) %}
{% for one in hosts %}
{% set id = uid ~ '-' ~ plain(one) %}
makina-mysql-cuser-{{ id }}:
  mysql_user.present:
    - name: {{ user | json }}
    - password: {{ (secret or '') | string | json }}
    - allow_passwordless: {{ allow_passwordless }}
    - host: {{ one | json }}
{{ asked(mysql_host) }}
    - require_in:
      - mc_proxy: mysql-db-create-hook
{% for db in bases %}
makina-mysql-user-grants-{{ id }}-{{ plain(db) }}:
  mysql_grants.present:
    - grant: {{ grant | json }}
    - database: {{ (db if '.' in db else db ~ '.*') | json }}
    - user: {{ user | json }}
    - host: {{ one | json }}
{{ asked(mysql_host) }}
      - mysql_user: makina-mysql-cuser-{{ id }}
    - require_in:
      - mc_proxy: mysql-db-create-hook
{% endfor %}
{% endfor %}
{% endmacro %}

{% macro gen_settings() %}{{ unsupported("mysql.gen_settings") }}{% set any = [varargs, kwargs] %}{% endmacro %}
