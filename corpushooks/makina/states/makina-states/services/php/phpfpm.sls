{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
{% set php = salt['mc_php.settings']() %}
include:
  - makina-states.services.php.hooks
{{ packages('makina-states.services.php.fpm', [php.packages.php_fpm, php.packages.cli], 'makina-php-pre-inst',
            'makina-php-post-inst') }}
{{ service(salt['mc_php.service'](), (
    ('makina-php-service', true, 'makina-php-pre-restart', 'makina-php-post-restart'),)) }}
