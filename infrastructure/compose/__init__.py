"""What `docker-compose.yml` reads beside itself: a deployment's variables, and configuration made from the code."""
