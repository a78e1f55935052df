{% from "makina-states/_macros/packages.jinja" import packages with context %}
{% import "makina-states/services/http/apache/macros.sls" as macros with context %}
{% set virtualhost = macros.virtualhost %}
{% set apache = salt['mc_apache.settings']() %}
include:
  - makina-states.services.http.apache.hooks
  - makina-states.services.http.apache.services
{{ packages('makina-states.services.http.apache', [apache.package] if apache.package else [],
            'makina-apache-pre-inst', 'makina-apache-post-inst') }}
