{% set cfg = opts.ms_project %}
{% import "makina-states/services/http/nginx/init.sls" as nginx with context %}
{% import "makina-states/services/php/init.sls" as php with context %}
include:
  - makina-states.services.php.phpfpm_with_nginx
{% set data = cfg.data %}
{{nginx.virtualhost(domain=data.domain,
                    doc_root=data.doc_root,
                    server_aliases=data.server_aliases,
                    vhost_basename=cfg.name,
                    vh_top_source=data.nginx_upstreams,
                    vh_content_source=data.nginx_vhost,
                    project=cfg.name)}}
{{php.fpm_pool(data.domain, data.doc_root, cfg=cfg, **data.fpm_pool)}}
