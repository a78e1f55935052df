{% set cfg = salt['mc_project.get_configuration'](project) %}
<?php
$databases['default']['default'] = [
  'driver' => 'mysql',
  'database' => '{{cfg.data.db_name}}',
  'username' => '{{cfg.data.db_user}}',
  'password' => '{{cfg.data.db_password}}',
  'host' => 'localhost',
];
