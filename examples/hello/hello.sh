#!/bin/sh
echo "Hello, $NAME, from an image with $(ls /bin | wc -l) programs and no distribution."
