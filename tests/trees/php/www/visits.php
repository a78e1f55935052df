<?php session_start(); $_SESSION["n"] = 1 + ($_SESSION["n"] ?? 0); echo "visits: " . $_SESSION["n"] . "\n";
