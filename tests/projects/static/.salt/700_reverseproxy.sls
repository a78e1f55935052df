{% import "makina-states/services/http/nginx/init.sls" as nginx %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.http.nginx

# nginx reads its configuration at each deployment
/bin/true:
  cmd.run:
    - watch_in:
      - mc_proxy: nginx-pre-conf-hook

{{ nginx.virtualhost(domain=data.domain, doc_root=data.www_dir,
                     server_aliases=data.server_aliases,
                     vhost_basename='corpus-'+cfg.name,
                     loglevel=data.get('nginx_loglevel', 'crit'),
                     vh_top_source=data.nginx_top,
                     vh_content_source=data.nginx_vhost,
                     extra={'data': {'answer': '42'}},
                     project=cfg.name, cfg=cfg) }}
