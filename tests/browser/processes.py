"""The processes of the browser's tests."""

APPROVAL = """
format: 1
process: approval
title: Pay an invoice
input:
  type: object
  properties: {amount: {type: number}, supplier: {type: string}}
  required: [amount, supplier]
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: number}, supplier: {type: string}, approval: {type: object}}
start: approve
nodes:
  approve:
    type: supervisor
    title: Somebody decides
    seat: {roles: [finance, operator]}
    ask:
      title: "Pay {{amount}}?"
      description: "{{supplier}}"
      form:
        type: object
        properties:
          note: {type: string, title: Note, maxLength: 100}
          account: {enum: [travel, tools], title: Account}
          parts: {type: integer, title: Parts, minimum: 1}
          urgent: {type: boolean, title: Urgent}
          split: {type: array, title: Split, items: {type: number}}
        required: [note]
        additionalProperties: false
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: late}
    writes: [approval]
    next:
      - {when: {"==": [{var: approval.decision}, approve]}, to: paid, label: approved}
      - {to: refused}
  paid: {type: end, outcome: paid, output: {var: approval}}
  refused: {type: end, outcome: refused}
  late: {type: end, outcome: late}
"""

TRAP = "<img src=x onerror='top.postMessage(1)'><script>document.title='trapped'</script>"
"""A text that does something where it is taken for markup."""

HOSTILE = f"""
format: 1
process: hostile
title: "{TRAP}"
input: {{type: object, properties: {{amount: {{type: number}}, supplier: {{type: string}}}}}}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {{amount: {{type: number}}, supplier: {{type: string}}, approval: {{type: object}}}}
start: approve
nodes:
  approve:
    type: supervisor
    title: "{TRAP}"
    seat: {{roles: [finance, operator]}}
    ask:
      title: "{TRAP}"
      description: "{TRAP}"
      form:
        type: object
        properties:
          note: {{type: string, title: "{TRAP}", default: "{TRAP}"}}
          "<b>kind</b>": {{enum: ["<b>one</b>", "<b>two</b>"]}}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {{to: late}}
    writes: [approval]
    next: [{{to: done, label: "{TRAP}"}}]
  done: {{type: end, outcome: done, output: {{var: approval}}}}
  late: {{type: end, outcome: late}}
"""

LONG = """
format: 1
process: long
title: Keep a text
input: {type: object, properties: {text: {type: string}}}
context: {schema: {type: object, additionalProperties: false, properties: {text: {type: string}}}}
start: done
nodes:
  done: {type: end, outcome: done}
"""

LOOP = """
format: 1
process: loop
title: Each amount
input: {type: object, properties: {amounts: {type: array, items: {type: number}}}, required: [amounts]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amounts: {type: array, items: {type: number}}}
start: each-one
nodes:
  each-one:
    type: foreach
    title: One after another
    items: {var: amounts}
    as: amount
    body:
      start: look
      nodes:
        look: {type: wait, for: PT1S, next: [{to: seen}]}
        seen: {type: end, outcome: seen}
    next: [{to: done}]
  done: {type: end, outcome: done}
"""

BROKEN = LOOP.replace("next: [{to: seen}]", "next: [{to: nowhere}]")
"""The same with a way inside the loop that leads nowhere."""
