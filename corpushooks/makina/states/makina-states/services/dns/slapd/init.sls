{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
{% set prefix = 'makina-states.services.dns.slapd' %}
{#- This is Debian's default directory; settings that would change it are errors, not silently ignored. #}
{% for key in ('dn', 'root_dn', 'root_pw', 'config_pw', 'acls', 'acls_schema', 'schemas', 'syncrepl', 'tls_cert')
   if sls == prefix and salt['mc_utils.get'](prefix ~ '.' ~ key) is not none %}
{{ raise(prefix ~ '.' ~ key ~ ' is not supported here: use ldapmodify; see: corpus help makina-states') }}
{% endfor %}
include:
  - makina-states.services.dns.slapd.hooks
{{ packages(prefix, ['slapd', 'ldap-utils'], 'slapd-pre-install', 'slapd-post-install') }}
{{ service({'name': salt['mc_utils.get'](prefix ~ '.service') or 'slapd'}, (
    ('slapd-service-restart', true, 'slapd-pre-restart', 'slapd-post-restart'),)) }}
