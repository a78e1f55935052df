{% from "makina-states/_macros/packages.jinja" import packages with context %}
{% set pgsql = salt['mc_pgsql.settings']() %}
include:
  - makina-states.services.db.postgresql
  - makina-states.services.gis.ubuntugis
{{ packages('makina-states.services.gis.postgis', ['postgis', 'postgresql-%s-postgis-3' % pgsql.version],
            'makina-postgresql-pre-pkg', 'makina-postgresql-post-pkg') }}
# the template of databases with PostGIS
makina-postgis-template:
  postgres_database.present:
    - name: {{ pgsql.postgis_db }}
    - template: template0
    - encoding: {{ pgsql.encoding }}
    - user: {{ pgsql.user }}
    - require:
      - mc_proxy: makina-postgresql-post-base
  postgres_extension.present:
    - name: postgis
    - maintenance_db: {{ pgsql.postgis_db }}
    - user: {{ pgsql.user }}
    - require:
      - postgres_database: makina-postgis-template
    - require_in:
      - mc_proxy: {{ pgsql.version }}-makina-postgresql-pre-create-group
