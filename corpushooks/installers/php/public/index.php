<?php
// Every question comes here: put your application in its place.
echo "<p>It is deployed. This page is public/index.php.</p>\n";
