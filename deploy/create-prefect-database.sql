-- Runs when the PostgreSQL container of compose.yaml creates its volume.
CREATE DATABASE prefect;
