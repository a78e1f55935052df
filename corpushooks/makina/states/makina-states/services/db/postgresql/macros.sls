{#- Groups, databases, users and extensions of PostgreSQL. Their arguments are in docs/makina-states.md. -#}
{% set pgsql = salt['mc_pgsql.settings']() %}

{% macro only(version) %}
{% if version and version | string != pgsql.version | string %}
{{ raise('PostgreSQL ' ~ version ~ ' is not supported here: use ' ~ pgsql.version ~ '; see: corpus help makina-states') }}
{% endif %}
{% endmacro %}

{#- A password, encrypted as current servers expect; True is used by SLS files that only knew md5. -#}
{% macro kept(password, encrypted) %}
{% if password is not none and password | string %}
{% set text = password | string %}
{% set old = encrypted == 'md5' or pgsql.version | float < 10 or text is match('md5[0-9a-f]{32}$') %}
{{ role_options({'password': text, 'encrypted': 'md5' if old else 'scram-sha-256'}) }}
{% endif %}
{% endmacro %}

{#- The connection, and the hooks before and after. -#}
{% macro asked(what, user, db_host, db_port, maintenance='') %}
    - user: {{ user or pgsql.user }}
{% if db_host %}
    - db_host: {{ db_host | json }}
{% endif %}
{% if db_port %}
    - db_port: {{ db_port }}
{% endif %}
{% if maintenance %}
    - maintenance_db: {{ maintenance | json }}
{% endif %}
    - require:
      - mc_proxy: {{ pgsql.version }}-makina-postgresql-{{ what[0] }}
    - require_in:
      - mc_proxy: {{ pgsql.version }}-makina-postgresql-{{ what[1] }}
{% endmacro %}

{% macro role_options(options) %}
{% for option, value in options.items() if value is not none %}
    - {{ option }}: {{ value | json }}
{% endfor %}
{% endmacro %}

{% macro postgresql_group(group, superuser=None, createroles=None, login=None, inherit=None, groups=None,
                          createdb=None, rolepassword='', encrypted=None, replication=None, user=None, db_host=None,
                          db_port=None, version=None, full=True, suf='') %}
{{ only(version) }}
{{ pgsql.version }}-{{ group }}-makina-postgresql-group{{ suf }}:
  postgres_group.present:
    - name: {{ group | json }}
{{ role_options({'superuser': superuser, 'createroles': createroles, 'createdb': createdb, 'login': login,
                 'inherit': inherit, 'replication': replication, 'groups': groups | join(',') if groups else none}) }}
{{ kept(rolepassword, encrypted) }}
{{ asked(('pre-create-group', 'post-create-group'), user, db_host, db_port) }}
{% endmacro %}

{#- A database, owned by its own group: DB_owners. -#}
{% macro postgresql_db(db, owner=None, tablespace=None, template='template0', wait_for_template=None,
                       encoding=pgsql.encoding, lc_collate='', lc_ctype='', user=None, version=None, extensions=None,
                       full=True, suf='', locale='', db_host=None, db_port=None) %}
{{ only(version) }}
{% set by = owner or db ~ '_owners' %}
{% if not owner %}
{{ postgresql_group(by, user=user, db_host=db_host, db_port=db_port, suf='-' ~ db) }}
{% endif %}
{{ pgsql.version }}-{{ db }}-makina-postgresql-database:
  postgres_database.present:
    - name: {{ db | json }}
    - owner: {{ by | json }}
    - encoding: {{ encoding }}
    - template: {{ template }}
{% if tablespace %}
    - tablespace: {{ tablespace }}
{% endif %}
{{ role_options({'lc_collate': lc_collate or locale or pgsql.locale or none,
                 'lc_ctype': lc_ctype or locale or pgsql.locale or none}) }}
{{ asked(('pre-create-db', 'post-create-db'), user, db_host, db_port) }}
{{ install_pg_exts(extensions or [], db, user=user, db_host=db_host, db_port=db_port) }}
{% endmacro %}

{#- A user; with `db`, one of the owners of that database. -#}
{% macro postgresql_user(name, password, groups=None, db=None, createdb=None, inherit=None, login=True, superuser=None,
                         replication=None, createroles=None, encrypted=None, user=None, db_host=None, db_port=None,
                         version=None, full=True, suf='') %}
{{ only(version) }}
{% set member = (groups or []) + ([db ~ '_owners'] if db else []) %}
{% for group in groups or [] %}
{{ postgresql_group(group, user=user, db_host=db_host, db_port=db_port, suf='-' ~ name ~ suf) }}
{% endfor %}
{{ pgsql.version }}-{{ name }}-makina-services-postgresql-user{{ suf }}:
  postgres_user.present:
    - name: {{ name | json }}
{{ role_options({'superuser': superuser, 'createdb': createdb, 'createroles': createroles, 'inherit': inherit,
                 'login': login, 'replication': replication, 'groups': member | join(',') if member else none}) }}
{{ kept(password, encrypted) }}
{{ asked(('pre-create-user', 'post-create-user'), user, db_host, db_port) }}
{% endmacro %}

{#- Extensions of databases; `watch` and `watch_in` are lists of other requisites. -#}
{% macro install_pg_exts(exts, db=None, db_host=None, db_port=None, wait_for_database_creation=None, dbs=None,
                         version=None, versions=None, user=None, watch=None, watch_in=None, full=True) %}
{% for one in [version] + (versions or []) %}{{ only(one) }}{% endfor %}
{% for base in (dbs or []) + ([db] if db else []) %}
{% for ext in exts %}
{{ pgsql.version }}-{{ base }}-{{ ext }}-makina-postgresql:
  postgres_extension.present:
    - name: {{ ext | json }}
    - watch: {{ watch or [] }}
    - watch_in: {{ watch_in or [] }}
{{ asked(('post-create-db', 'pre-create-user'), user, db_host, db_port, base) }}
{% endfor %}
{% endfor %}
{% endmacro %}

{% macro install_pg_ext(ext, db=None, dbs=None, wait_for_database_creation=None, versions=None, version=None, user=None,
                        db_host=None, db_port=None, watch=None, watch_in=None, full=True) %}
{{ install_pg_exts([ext], db, db_host, db_port, none, dbs, version, versions, user, watch, watch_in) }}
{% endmacro %}
