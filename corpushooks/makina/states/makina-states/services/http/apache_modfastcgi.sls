{% from "makina-states/services/http/apache/macros.sls" import modules with context %}
include:
  - makina-states.services.http.apache
{{ modules('modfastcgi', 'proxy,proxy_fcgi'.split(',')) }}
