<?php
include __DIR__ . "/sites/default/settings.php";
$given = $databases["default"]["default"];
$db = new PDO("mysql:host={$given['host']};dbname={$given['database']}", $given["username"], $given["password"]);
$db->exec("CREATE TABLE IF NOT EXISTS node (id INT AUTO_INCREMENT PRIMARY KEY)");
$db->exec("INSERT INTO node () VALUES ()");
echo "drupal: " . $db->query("SELECT COUNT(*) FROM node")->fetchColumn() . " nodes\n";
