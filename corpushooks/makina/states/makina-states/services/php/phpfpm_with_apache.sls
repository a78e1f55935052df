include:
  - makina-states.services.http.apache_modfastcgi
  - makina-states.services.php.phpfpm
{% set php = salt['mc_php.settings']() %}
{# Without it Apache serves the source of PHP files, unless a virtual host says what runs them. #}
makina-apache-php-fpm:
  cmd.run:
    - name: a2enconf --quiet {{ php.service }}
    - unless: test -e {{ salt['mc_apache.settings']().basedir }}/conf-enabled/{{ php.service }}.conf
    - require:
      - mc_proxy: makina-apache-post-inst
      - mc_proxy: makina-php-post-inst
    - watch_in:
      - mc_proxy: makina-apache-php-pre-restart
