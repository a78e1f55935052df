{% from "makina-states/_macros/packages.jinja" import packages with context %}
{% import "makina-states/services/http/apache/macros.sls" as macros with context %}
{% set virtualhost = macros.virtualhost %}
{% set apache = salt['mc_apache.settings']() %}
include:
  - makina-states.services.http.apache.hooks
  - makina-states.services.http.apache.services
{{ packages('makina-states.services.http.apache', [apache.package] if apache.package else [],
            'makina-apache-pre-inst', 'makina-apache-post-inst') }}
makina-apache-main-conf-included-modules:
  mc_apache.include_module:
    - modules: {{ (['rewrite', 'expires', 'headers'] + (['mpm_' ~ apache.mpm] if apache.mpm else [])) | json }}
    - require:
      - mc_proxy: makina-apache-post-inst
    - watch_in:
      - mc_proxy: makina-apache-pre-conf
      - mc_proxy: makina-apache-pre-hardrestart
{# Its requisites are met once the modules are enabled. #}
makina-apache-main-conf:
  mc_apache.deployed:
    - require:
      - mc_proxy: makina-apache-pre-conf
    - require_in:
      - mc_proxy: makina-apache-post-conf
