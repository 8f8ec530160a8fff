// An ACPI power meter of the node's input that shows 250 W for ever (ACPI 6.5, section 10.4).
DefinitionBlock ("", "SSDT", 2, "JOULEP", "METER", 1)
{
    Scope (\_SB)
    {
        Device (PWRM)
        {
            Name (_HID, "ACPI000D")
            Name (_UID, Zero)
            Method (_STA, 0) { Return (0x0F) }
            // Can measure; mW; input; accuracy; sampling, least and largest interval in ms; no cap.
            Method (_PMC, 0)
            {
                Return (Package (14) {
                    1, 0, 0, 100000, 1000, 1000, 1000000, 0xFFFFFFFF, 0, 0, 0, "Meter", "0001", "jouleprint"
                })
            }
            Method (_PMM, 0) { Return (250000) }
            Method (_GAI, 0) { Return (1000) }
            Method (_PAI, 1) { Return (0) }
            Method (_PMD, 0) { Return (Package (1) { \_SB }) }
        }
    }
}
