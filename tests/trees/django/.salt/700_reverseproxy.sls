{% set cfg = opts.ms_project %}
{% import "makina-states/services/http/nginx/init.sls" as nginx with context %}
{% set data = cfg.data %}
include:
  - makina-states.services.http.nginx
{{nginx.virtualhost(domain=data.domain,
                    doc_root=data.doc_root,
                    server_aliases=data.server_aliases,
                    vhost_basename=cfg.name,
                    vh_top_source=data.nginx_upstreams,
                    vh_content_source=data.nginx_vhost,
                    project=cfg.name)}}
