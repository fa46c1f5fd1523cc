CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO orders SELECT i, i * 7919 % 997, i * 104729 % 10007, 'note ' || (i % 100) FROM n;
COMMIT;
CREATE INDEX by_customer ON orders(customer, amount);
SELECT customer, count(*), sum(amount) AS total FROM orders GROUP BY customer ORDER BY total DESC LIMIT 5;
SELECT count(*) FROM orders a JOIN orders b ON a.customer = b.customer AND a.amount < b.amount WHERE a.id < 3000;
SELECT note, max(amount) FROM orders WHERE note LIKE '%7' GROUP BY note ORDER BY note LIMIT 3;
UPDATE orders SET amount = amount + 1 WHERE customer % 3 = 0;
SELECT sum(amount) FROM orders;
