import { useEffect, useId, useRef, type ReactNode } from "react"

/** A modal dialog of the browser: it keeps the focus, and Escape closes it. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    element.current?.showModal()
  }, [])
  return (
    <dialog ref={element} aria-labelledby={id} onClose={(event) => event.target === element.current && onClose()}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}
