{% from "makina-states/services/http/apache/macros.sls" import modules with context %}
include:
  - makina-states.services.http.apache
{{ modules('modproxy', 'proxy,proxy_http,headers'.split(',')) }}
