-- Roles and database of docs/database.md. prepare.sh puts a password in the place of each three dots.
CREATE ROLE milepost_owner LOGIN PASSWORD '…';
CREATE ROLE milepost_worker LOGIN PASSWORD '…';
CREATE ROLE milepost_reader LOGIN PASSWORD '…';
CREATE DATABASE milepost OWNER milepost_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE milepost FROM PUBLIC;
GRANT CONNECT ON DATABASE milepost TO milepost_worker, milepost_reader;
\connect milepost
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO milepost_owner;
GRANT USAGE ON SCHEMA public TO milepost_worker, milepost_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE milepost_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO milepost_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE milepost_owner IN SCHEMA public GRANT SELECT ON TABLES TO milepost_reader;
