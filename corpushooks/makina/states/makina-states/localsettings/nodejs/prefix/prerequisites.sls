{#- Versions of node from its own site, beside Debian's, in PREFIX/VERSION. -#}
{% set nodejs = salt['mc_nodejs.settings']() %}
include:
  - makina-states.localsettings.nodejs.hooks
{% macro install(version, dest='', hash=None, suf='manual') %}
{% set archive = salt['mc_nodejs.archive'](version, dest, hash) %}
npm-version-{{ version | replace('.', '_') }}{{ suf }}:
  archive.extracted:
    - name: {{ archive.dest | json }}
    - source: {{ archive.source | json }}
    - source_hash: {{ archive.source_hash | json }}
    - options: --strip-components=1
    - enforce_toplevel: false
    - unless: test -x "{{ archive.dest }}/bin/node"
    - require:
      - mc_proxy: nodejs-pre-prefix-install
    - watch_in:
      - mc_proxy: nodejs-post-prefix-install
{% endmacro %}
