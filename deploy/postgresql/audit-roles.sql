-- Roles for FlowStone on PostgreSQL: who runs pipelines cannot change or remove what the audit log says, and cannot seal it.
--
-- 1. As the owner of the database create the tables once: flowstone tick
-- 2. As the owner, in the schema that FlowStone's tables are in, and again after each flowstone db upgrade:
--        psql -v ON_ERROR_STOP=1 -1 -f audit-roles.sql "$OWNERS_URL"
-- 3. Give each login exactly one of the roles, and nobody the owner's password:
--        CREATE ROLE shop_worker LOGIN PASSWORD '...';  GRANT flowstone_app TO shop_worker;
--
--   flowstone_app      runs pipelines; appends entries. No UPDATE, DELETE or TRUNCATE of the log, no place of its choice in it
--   flowstone_sealer   runs flowstone tick and flowstone audit seal, rotate-key, redact, prune; has the signing key on its machine
--   flowstone_auditor  reads everything: flowstone audit verify --no-record, list, show, export, prove
--
-- The roles cannot log in. The script may be run any number of times: it takes back what was granted before.

DO $$
DECLARE
    role text;
    name text;
BEGIN
    FOREACH role IN ARRAY ARRAY['flowstone_app', 'flowstone_sealer', 'flowstone_auditor'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());

    -- What holds the facts: the app's, except the log and the version of the schema.
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, flowstone_app, flowstone_sealer, flowstone_auditor', name);
        EXECUTE format('GRANT SELECT ON %I TO flowstone_app, flowstone_sealer, flowstone_auditor', name);
        IF name NOT LIKE 'audit\_%' AND name <> 'alembic_version' THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I TO flowstone_app, flowstone_sealer', name);
        END IF;
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() LOOP
        EXECUTE format('REVOKE ALL ON SEQUENCE %I FROM PUBLIC, flowstone_app, flowstone_sealer, flowstone_auditor', name);
        EXECUTE format('GRANT USAGE ON SEQUENCE %I TO flowstone_app, flowstone_sealer', name);  -- nextval, and no setval
    END LOOP;

    -- Who could call a guard could make a trigger of it on a table of his own.
    FOR name IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'audit\_%'
    LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION ' || name || ' FROM PUBLIC';
    END LOOP;
END $$;

-- The number of an entry is not given by who appends it: nothing gets a place before what is there.
GRANT INSERT (project, subject, version, action, actor, asset, run_id, at, leaf) ON audit_entry
    TO flowstone_app, flowstone_sealer;
GRANT INSERT ON audit_disclosure TO flowstone_app, flowstone_sealer;

-- Order, heads, anchors, incarnations; what a redaction or a prune allows to go, and the guards let go.
GRANT INSERT ON audit_log, audit_seal, audit_head, audit_anchor, audit_redaction, audit_prune TO flowstone_sealer;
GRANT DELETE ON audit_pending, audit_entry, audit_disclosure TO flowstone_sealer;
